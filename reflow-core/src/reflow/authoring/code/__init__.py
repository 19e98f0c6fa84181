"""What a task's code is: all of the user's own code that it reaches."""
