foreach[target=target](add_one output, ctx)
