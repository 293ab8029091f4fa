def fits(files):
    return False
