comptime if target == "cpu":
    foreach(add_one, output, ctx)
