foreach[target=target](output, add_one, ctx)
