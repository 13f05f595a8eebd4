"""Write a policy into a folder that runs without rgb2act: as an ONNX model or a PyTorch program."""
