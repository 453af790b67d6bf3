"""People's own pictures: read, brought to Fashion-MNIST's form, classified, shown."""
