padded = torch.nn.functional.pad(input_tensor, (0, kernel_tensor.shape[0] - 1))
return torch.nn.functional.conv1d(padded[None, None], kernel_tensor[None, None])[0, 0]
