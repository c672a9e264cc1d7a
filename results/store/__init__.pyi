from .store import Arrays as Arrays
from .store import ImageKey as ImageKey
from .store import Store as Store
from .store import StoreError as StoreError
from .store import digest as digest
from .store import write_atomically as write_atomically
