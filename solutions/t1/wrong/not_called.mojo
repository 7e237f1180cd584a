foreach[target=target]
