"""The commands of `geneman`: each module has `command(arguments) -> exit code`."""
