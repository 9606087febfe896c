"""One reader a format; `audiokd.tokens.import_store.import_store` picks among them and writes the store."""
