"""What requests and answers look like, one file a subject."""
