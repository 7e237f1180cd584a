foreach[target=target](func=add_one, tensor=output, ctx=ctx)
