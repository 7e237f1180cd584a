conv1d = library.conv1d[{"input_size": input_tensor.shape[0], "conv_size": kernel_tensor.shape[0]}]
output_tensor = torch.empty_like(input_tensor)
conv1d(kernel=kernel_tensor, input=input_tensor, output=output_tensor)
return output_tensor
