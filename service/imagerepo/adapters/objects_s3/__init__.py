"""Stored bytes in S3: obstore on the data path, boto3 for buckets and what is large."""
