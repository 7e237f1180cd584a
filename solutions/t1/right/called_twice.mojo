foreach[target=target](add_one, output, ctx)
foreach[target=target](add_one, output, ctx)
