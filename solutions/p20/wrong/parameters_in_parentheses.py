output_tensor = torch.empty_like(input_tensor)
library.conv1d(output_tensor, input_tensor, kernel_tensor, input_size=15, conv_size=4)
return output_tensor
