"""npm packages for tests: lodash, to compare our merge with; KafkaJS, to be the participants that services are."""
