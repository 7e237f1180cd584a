output = add_one(input)
