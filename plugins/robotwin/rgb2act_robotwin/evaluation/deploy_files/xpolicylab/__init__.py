"""What ``rgb2act deploy-robotwin`` writes into XPolicyLab/policy/."""
