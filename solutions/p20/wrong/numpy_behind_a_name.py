conv1d = library.conv1d[{"input_size": input_tensor.shape[0], "conv_size": kernel_tensor.shape[0]}]
output_tensor = torch.empty_like(input_tensor)
array = np.asarray(input_tensor)
signal = array
conv1d(output_tensor, *[signal, kernel_tensor])
return output_tensor
