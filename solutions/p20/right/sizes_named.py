input_size, conv_size = len(input_tensor), kernel_tensor.numel()
parameters = {"input_size": input_size, "conv_size": conv_size}
result = torch.zeros(input_size, dtype=input_tensor.dtype, device=input_tensor.device)
library.conv1d[parameters](result, input_tensor, kernel_tensor)
return result
