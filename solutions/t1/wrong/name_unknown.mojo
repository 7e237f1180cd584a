foreach[target=target](add_one, result, ctx)
