def members(ref):
    raise NotImplementedError
