"""The properties of the manifest as one valid, frozen model, with what follows from them; haproxy-boshrelease's job is read here too."""
