"""Forms and dialogs, made from the actions' declarations; imported when the first one opens."""
