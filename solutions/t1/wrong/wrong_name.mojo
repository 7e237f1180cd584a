for_each[target=target](add_one, output, ctx)
