foreach[target=target](ctx, add_one, output)
