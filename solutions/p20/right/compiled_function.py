@torch.compile
def convolve(signal, weights):
    output = torch.empty_like(signal)
    conv1d(output, signal, weights)
    return output


conv1d = library.conv1d[{"input_size": input_tensor.shape[0], "conv_size": kernel_tensor.shape[0]}]
return convolve(input_tensor, kernel_tensor)
