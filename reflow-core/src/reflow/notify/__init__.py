"""Built-in notifiers. They are plugins like any other and imported only when configured."""
