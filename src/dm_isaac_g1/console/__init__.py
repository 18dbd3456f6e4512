"""The console: screens, panes, forms, themes and keys. Reads the store, runs actions, opens no connection."""
