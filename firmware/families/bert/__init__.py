"""BERT: text, a norm behind every addition, and a feature that is the mean of the tokens or the first one."""
