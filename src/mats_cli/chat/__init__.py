"""mats chat: its commands, its status line, its keyboard."""
