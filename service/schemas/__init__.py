"""Records whose schema is in a registry: the registry's client, and decoders made of its schemas.

Importing `registry` or `avro` needs the extra `schema-registry`; nothing else imports a client or an Avro library.
`proto_files` runs the compiler of the extra `protobuf`.
"""
