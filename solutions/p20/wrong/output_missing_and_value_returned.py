conv1d = library.conv1d[{"input_size": input_tensor.shape[0], "conv_size": kernel_tensor.shape[0]}]
return torch.compile(conv1d)(input_tensor, kernel_tensor)
