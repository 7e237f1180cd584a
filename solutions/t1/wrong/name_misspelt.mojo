foreach[target=target](add_on, output, ctx)
