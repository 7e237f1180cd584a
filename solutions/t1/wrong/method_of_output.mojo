output.foreach[target=target](add_one, ctx)
