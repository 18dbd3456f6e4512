"""What the Overview is made of: each pane shows one part of the store."""
