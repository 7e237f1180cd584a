comptime if target == "cpu":
    foreach[target="gpu"](add_one, output, ctx)
else:
    foreach[target="gpu"](add_one, output, ctx)
