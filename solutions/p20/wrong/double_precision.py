conv1d = library.conv1d[{"input_size": input_tensor.shape[0], "conv_size": kernel_tensor.shape[0]}]
output_tensor = torch.empty_like(input_tensor).double()
conv1d(output_tensor, input_tensor.double(), kernel_tensor.double())
return output_tensor
