foreach[add_one, target=target](output, ctx)
