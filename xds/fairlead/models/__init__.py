"""Objects as users write them: frozen, typed, without behaviour; and how YAML becomes them."""
