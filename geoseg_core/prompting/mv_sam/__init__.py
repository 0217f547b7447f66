"""MV-SAM: a prompt in any view becomes a mask in every view, through the point map that all views share."""
