add_one[1](Coord(0, 0))
