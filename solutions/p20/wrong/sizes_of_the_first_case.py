conv1d = library.conv1d[{"input_size": 15, "conv_size": 4}]
output_tensor = torch.empty_like(input_tensor)
torch.compile(conv1d)(output_tensor, input_tensor, kernel_tensor)
return output_tensor
