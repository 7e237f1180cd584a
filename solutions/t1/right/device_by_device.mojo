comptime if target == "gpu":
    foreach[target="gpu"](add_one, output, ctx)
else:
    foreach(add_one, output, ctx)
