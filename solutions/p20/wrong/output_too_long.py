conv1d = library.conv1d[{"input_size": input_tensor.shape[0], "conv_size": kernel_tensor.shape[0]}]
output_tensor = torch.empty(32)
torch.compile(conv1d)(output_tensor, input_tensor, kernel_tensor)
return output_tensor
