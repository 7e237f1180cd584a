foreach[target=target](add_one, output, ctx.get_device_context())
