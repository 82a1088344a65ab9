"""What the HTTP protocols share: the edge of the server, requests and answers, media types, bodies."""
