"""Files and folders → documents: `reader.FileReader` walks, opens, decodes and parses them."""
