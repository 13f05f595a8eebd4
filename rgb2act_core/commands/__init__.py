"""What each command of ``rgb2act`` does; imported when it is called."""
