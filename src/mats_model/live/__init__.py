"""What is heard as it happens: a ring of samples, events, a diary, questions and a conversation."""
